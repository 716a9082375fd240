// The values of Unity's API that this package uses, for compiling only. See UnityEngine.cs.

namespace UnityEngine
{
    public struct Vector2
    {
        public Vector2(float x, float y)
        {
        }
    }

    public struct Vector3
    {
        public Vector3(float x, float y, float z)
        {
        }

        public static Vector3 one
        {
            get { return default(Vector3); }
        }

        public static Vector3 operator *(Vector3 vector, float factor)
        {
            return vector;
        }
    }

    public struct Vector4
    {
        public Vector4(float x, float y, float z, float w)
        {
        }
    }

    public struct Quaternion
    {
        public Quaternion(float x, float y, float z, float w)
        {
        }

        public static Quaternion identity
        {
            get { return default(Quaternion); }
        }

        public static Quaternion Euler(float x, float y, float z)
        {
            return default(Quaternion);
        }
    }

    public struct Color
    {
        public static Color blue
        {
            get { return default(Color); }
        }

        public static Color gray
        {
            get { return default(Color); }
        }

        public static Color yellow
        {
            get { return default(Color); }
        }
    }
}
